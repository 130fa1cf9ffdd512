"""Tables, pages, pictures and intervals made of counts."""
