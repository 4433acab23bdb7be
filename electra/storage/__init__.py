"""Where files are: atomic writes, object stores, names of models and data -> local folders."""
