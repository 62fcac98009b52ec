"""What the tools of recipe authors and local/prepare.py stand on."""
