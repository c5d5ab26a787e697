"""Why a finding is one: what its score is made of, where it comes from, and which other models see it."""
