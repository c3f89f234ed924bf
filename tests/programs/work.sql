PRAGMA cache_size = 4000;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL, note BLOB);
CREATE TABLE sale (id INTEGER PRIMARY KEY, item INTEGER, day INTEGER, n INTEGER);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)
INSERT INTO item SELECT x, 'item ' || (x * 7919 % 20011), x % 37, x * 1.25, zeroblob(x % 300) FROM c;
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000)
INSERT INTO sale SELECT x, x * 31 % 20000 + 1, x % 365, x % 11 FROM c;
CREATE INDEX sale_item ON sale(item);
CREATE INDEX item_name ON item(name, kind);
SELECT kind, count(*), sum(n * price) FROM sale JOIN item ON item.id = sale.item GROUP BY kind ORDER BY kind;
SELECT name, sum(n) AS total FROM sale JOIN item ON item.id = sale.item GROUP BY name ORDER BY total DESC, name LIMIT 20;
SELECT count(DISTINCT day), group_concat(DISTINCT n) FROM sale;
UPDATE item SET name = name || ' (' || kind || ')' WHERE kind % 3 = 0;
DELETE FROM sale WHERE day < 100;
SELECT count(*), max(length(name)), sum(length(note)) FROM item;
SELECT a.kind, count(*) FROM item a JOIN item b ON b.id = a.id + 1 AND b.kind > a.kind GROUP BY a.kind ORDER BY 2 DESC, 1 LIMIT 5;
VACUUM;
PRAGMA integrity_check;
SELECT day, sum(n) OVER (ORDER BY day ROWS 10 PRECEDING) FROM sale WHERE item < 40 ORDER BY day, id LIMIT 40;
