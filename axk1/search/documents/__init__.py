"""Files of any kind -> documents: plain text with its headings, pages, title and date."""
