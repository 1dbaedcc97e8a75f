"""Pages and charts: numbers to one self-contained HTML file."""
