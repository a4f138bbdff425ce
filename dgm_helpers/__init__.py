"""Small, readable helpers shared by the notebooks of the book."""
