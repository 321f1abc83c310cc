"""Patches change what they name, or say why not."""
