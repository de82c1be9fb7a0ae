//! Who is connected, how well, and in what order that came about.
