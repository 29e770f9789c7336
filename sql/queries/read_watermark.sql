select archived_until from watermark
