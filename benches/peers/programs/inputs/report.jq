# Requests, failures, times and traffic for each user.
def mean: if length == 0 then null else add / length end;

group_by(.user.name)
| map({
    user: .[0].user.name,
    requests: length,
    failed: map(select(.status >= 500)) | length,
    methods: (group_by(.request.method) | map({ (.[0].request.method): length }) | add),
    took: { mean: (map(.took) | mean), worst: (map(.took) | max) },
    traffic: (map(.bytes) | add),
    paths: (map(.request.path) | unique | length)
  })
| sort_by(-.traffic)
| .[]
