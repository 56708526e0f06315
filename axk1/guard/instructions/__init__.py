"""How instructions to an assistant are worded and where they hide, in Korean and English."""
