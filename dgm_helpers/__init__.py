"""Small, readable helpers shared by the notebooks of the book, one package for each chapter."""
