"""How unsafe requests are worded: what is asked for, and what for; Korean and English."""
