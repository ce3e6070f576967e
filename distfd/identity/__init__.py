"""What an object is made of, and a digest of that: the parts behind `distfd.fingerprint`."""
