"""An HTTP server with the API of OpenAI: talk to a trained system from any client."""
