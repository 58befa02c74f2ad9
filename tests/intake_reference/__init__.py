"""Reference data: files in, typed tables out, or every reason why not."""
