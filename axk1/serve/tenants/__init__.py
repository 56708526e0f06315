"""Who may ask and how much: organisations, their keys, limits, and a ledger of what every request took."""
