"""One verb each: settings in, files out."""
