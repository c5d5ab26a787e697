"""What every result says about itself."""

NOTICE = "Research use only. Not a medical device."
