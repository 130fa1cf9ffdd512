"""Does anti-aliasing help? A plan of trainings, what is measured of each, and what follows."""
