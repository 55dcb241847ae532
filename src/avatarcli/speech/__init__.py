"""A voice → a motion clip: phonemes and their times, the mouth that makes them, and a head that goes along."""
