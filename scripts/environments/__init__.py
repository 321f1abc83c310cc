"""Load what people write for an environment: settings, values, patches, the image lock."""
