"""boto3 in the broadcaster's place, in a process of its own: ``broadcast_boto3 <viewers> <threads>``."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

from benchmarks.aws import event


def _boto3(viewers: int, threads: int) -> dict[str, float]:
    """The same, as boto3 does it: a paginator, and posts from a pool of threads."""
    config = Config(max_pool_connections=threads, retries={"mode": "standard", "total_max_attempts": 3})
    dynamodb = boto3.client("dynamodb", config=config)
    connections = boto3.client(
        "apigatewaymanagementapi", endpoint_url=os.environ["CONNECTIONS_ENDPOINT"], config=config
    )
    frame = f'{{"type":"events","events":[{event(1, viewers)}]}}'.encode()

    def post(connection_id: str) -> bool:
        try:
            connections.post_to_connection(ConnectionId=connection_id, Data=frame)
        except connections.exceptions.GoneException:
            return False
        return True

    def broadcast(viewers: int) -> int:
        pages = dynamodb.get_paginator("query").paginate(
            TableName=os.environ["CONNECTIONS_TABLE"],
            KeyConditionExpression="streamer_id = :streamer_id",
            ExpressionAttributeValues={":streamer_id": {"S": str(viewers)}},
        )
        ids = [item["connection_id"]["S"].rpartition("#")[2] for page in pages for item in page["Items"]]
        return sum(pool.map(post, ids))

    with ThreadPoolExecutor(threads) as pool:
        broadcast(threads)
        started, cpu = time.perf_counter(), time.process_time()
        posts = broadcast(viewers)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - started
    return {"threads": threads, "frames_per_cpu_second": posts / cpu, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(_boto3(int(sys.argv[1]), int(sys.argv[2]))))
