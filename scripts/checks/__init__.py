"""The layers of validate and policy: renderings in, findings out."""
