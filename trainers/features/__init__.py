"""What the frozen image encoder makes of pictures, kept on disk and found again."""
