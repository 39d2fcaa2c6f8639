"""Use what was trained: classify pictures, export, see what prompts have learned."""
