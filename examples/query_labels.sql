-- Queries on a dataset's soft labels, over the table `views`, one row per image view: epoch, key, class_index, logits.
-- For labels stored as float16 it is simply:  CREATE VIEW views AS FROM 'DATASET/soft_labels/*.parquet';
-- examples/query_labels.py creates it for every codec.

CREATE VIEW probabilities AS
SELECT epoch, key, class_index, [x / list_sum(odds) for x in odds] AS p
FROM (
    SELECT *, [exp(x - list_max(logits)) for x in logits] AS odds
    FROM (SELECT * REPLACE (CAST(logits AS DOUBLE[]) AS logits) FROM views)
);

-- surest views: for each class, the view to which the teacher gives its highest probability
SELECT class_index, arg_max(key, p[class_index + 1]) AS key, arg_max(epoch, p[class_index + 1]) AS epoch,
       max(p[class_index + 1]) AS probability
FROM probabilities
GROUP BY class_index
ORDER BY class_index;

-- entropy of each class's labels in nats (temperature 1), and the share of views whose most likely class is the image's
SELECT class_index, avg(-list_sum([CASE WHEN x > 0 THEN x * ln(x) ELSE 0 END for x in p])) AS entropy_nats,
       avg(CAST(list_position(p, list_max(p)) = class_index + 1 AS INTEGER)) AS own_class_first
FROM probabilities
GROUP BY class_index
ORDER BY class_index;
