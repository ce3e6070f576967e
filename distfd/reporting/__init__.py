"""The page that tells what a run did: `data` reads the run's directory, each section draws one part of it."""
