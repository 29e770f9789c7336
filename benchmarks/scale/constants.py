"""What the model assumes of AWS, each with its source. Times are seconds.

"Assumed" stands where AWS documents no figure and none was measured. Such a figure is on the slow side of
what is usual.
"""

# -- API Gateway ---------------------------------------------------------------------------------------------

# One budget of the account in a Region for HTTP, WebSocket and @connections requests.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
BUDGET, BUDGET_BURST = 10_000.0, 5_000.0
# New WebSocket connections a second of an account.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
NEW_CONNECTIONS = 500.0
# A post's way there and back with what API Gateway does in between: median and spread (sigma of the
# logarithm), so that one in a hundred takes 50 ms. Assumed.
POST_SECONDS, POST_SPREAD = 0.015, 0.5
# How long a handshake takes after $connect was answered; until then @connections says 410. Assumed.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
HANDSHAKE_SECONDS = 0.05

# -- Lambda --------------------------------------------------------------------------------------------------

# What an account may run at once.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
CONCURRENCY = 1_000
# From the call to the first line of the handler in a new execution environment: measured for the webhook's
# function (docs/benchmarks.md).
COLD_START_SECONDS = 0.4
# Receiving from a queue and calling the function, when it is warm. Assumed.
INVOKE_SECONDS = 0.01
# CPU for a post: measured, docs/benchmarks.md ("A post costs the function 60 to 90 µs of CPU").
POST_CPU_SECONDS = 75e-6

# -- SQS -----------------------------------------------------------------------------------------------------

# An event source begins with five batches at once, and adds up to 300 a minute while messages wait.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
POLLERS, MORE_POLLERS_A_SECOND = 5, 5
# A call: median and spread. Assumed.
SQS_SECONDS, SQS_SPREAD = 0.008, 0.4
# From the webhook's answer by way of the topic into the queue. Assumed.
TOPIC_SECONDS = 0.03

# -- DynamoDB ------------------------------------------------------------------------------------------------

# What one partition serves, and so one key at least: adaptive capacity may split a key's items, but not one
# item. Unused units are kept for bursts, yet never serve more than the partition's maximum: a second's
# worth.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html
KEY_READS, KEY_WRITES = 3_000.0, 1_000.0
# What a new table on demand serves at once; it grows to twice the highest traffic so far.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
TABLE_READS, TABLE_WRITES = 12_000.0, 4_000.0
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
READ_UNIT_BYTES, WRITE_UNIT_BYTES = 4_096, 1_024
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
MAX_ITEM_BYTES, MAX_PAGE_BYTES, MAX_BATCH_WRITES = 400 * 1_024, 1024 * 1024, 25
# "Single-digit milliseconds", and what an answer of many items takes longer. The first is documented, the
# spread and the second assumed.
DYNAMODB_SECONDS, DYNAMODB_SPREAD, DYNAMODB_ITEM_SECONDS = 0.004, 0.4, 5e-6

# -- the page and the record ---------------------------------------------------------------------------------

# How old what the record says may be: CloudFront serves 2 s without asking and 10 s more while it asks
# (s-maxage and stale-while-revalidate of lambdas/handlers/query.py), and recording takes its time.
RECORD_AGE_SECONDS = 13.0
# When a page reads the record after its connection opened or a frame said that events are missing, how many
# events it reads back, and how long it waits before the attempt after so many failures (frontend/src/live:
# CATCH_UP_AFTER, CATCH_UP_PAGES and backoff.ts).
CATCH_UP_AFTER, CATCH_UP_EVENTS = (0.0, 3.0, 15.0), 300
BACKOFF_SECONDS, MOST_BACKOFF_SECONDS, LOSS = 1.25, 80.0, 6
