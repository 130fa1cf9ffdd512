"""What a network folds, and how its errors go with it."""
