# One line for each failed request, and a count of their words.
def line: "\(.time) \(.request.method) \(.request.path): \(.status) after \(.took) ms for \(.user.name)";

map(select(.status >= 400))
| {
    lines: map(line),
    words: (reduce (.[] | .message | split(" ")[]) as $word ({}; .[$word] += 1)
        | to_entries | sort_by(.value, .key) | reverse | .[:20] | from_entries),
    areas: (map(.request.path | split("/")[1]) | group_by(.) | map("\(.[0]): \(length)"))
  }
