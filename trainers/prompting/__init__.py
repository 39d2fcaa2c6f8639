"""What the methods share: the frozen CLIP, prompt text, encoder walks. Imports torch and clip, never dassl."""
