"""``distfd doctor``: looks at what runs depend on, and says what to do about what is not well."""
