"""Where the parts are joined: settings become objects."""
