"""What people say of the answers: studies, ratings, agreement."""
