# Splits the requests of each user into sessions: a pause of more than 400 seconds begins a new one.
def sessions:
  reduce .[] as $record ([];
    if length > 0 and $record.time - .[-1][-1].time <= 400
    then .[-1] += [$record]
    else . + [[$record]]
    end);

[group_by(.user.name)[] | sort_by(.time) | sessions[]]
| map({
    user: .[0].user.name,
    from: .[0].time,
    lasts: (.[-1].time - .[0].time),
    steps: [.[] | .request.path],
    leaves: [paths(type == "string")] | length
  })
| map(select(.steps | length > 1))
| .[]
