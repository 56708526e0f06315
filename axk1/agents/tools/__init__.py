"""What agents can do: mail, documents, calendars, files, search, programs, arithmetic, pages of the web."""
