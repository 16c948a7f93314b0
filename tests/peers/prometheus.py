"""Prometheus' own Python parser against two expositions: arguments 1 and 2 are files with the text format and with OpenMetrics."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

for parse, path in [(text, sys.argv[1]), (openmetrics, sys.argv[2])]:
    families = {family.name: family for family in parse(open(path).read())}
    assert families["verso_http_request_duration_seconds"].type == "histogram", families.keys()
    assert families["openclaw_gateway_rpc_requests"].type == "counter", families.keys()
    up = {sample.labels["service"]: sample.value for sample in families["verso_service_up"].samples}
    assert up["agent"] == 1 and up["edge"] == 1, up
print("ok")
