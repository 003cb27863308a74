-- The first site's database is made by the image; this is the second's.
CREATE DATABASE south OWNER undertone;
