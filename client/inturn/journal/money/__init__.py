"""What is paid: reserved before each request, settled behind it, and added up."""
