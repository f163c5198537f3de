# All records, without private fields.
def hide: if type == "string" then (.[:2] + "...") else null end;

map(
    .user.email |= hide
    | .request.headers |= with_entries(if .key == "token" then .value = "secret" else . end)
    | .tags = (.tags + ["seen"] | map(ascii_upcase))
    | del(.message)
    | walk(if type == "number" then floor else . end)
)
| .[]
| tojson
