"""A CLIP from any file or library, in OpenAI's layout."""
