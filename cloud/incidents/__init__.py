"""From an alarm to a handled incident, with clocks that can be proved."""
