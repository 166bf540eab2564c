#!/usr/bin/env bash
# Comment on a pull request with what it does to rules and flows: used by action.yml.
#
# Reads MANIFESTS (files and folders, separated by blanks), BASE (a commit), NUMBER (of the pull request), and what gh
# reads (GH_TOKEN, GH_REPO). An earlier comment is replaced. With DRY_RUN the comment is printed instead.
set -euo pipefail

marker='<!-- felixpy -->'
read -ra paths <<< "$MANIFESTS"
git cat-file -e "$BASE" 2>/dev/null || git fetch --quiet --depth=1 origin "$BASE"

comment() {
    printf '%s\n## felixpy: what this pull request changes\n\n' "$marker"
    local path inside status
    for path in "${paths[@]}"; do
        inside=${path#./}
        [[ "$path" != . ]] || inside=
        ((${#paths[@]} == 1)) || printf '### %q\n\n' "$path"
        status=0
        felixpy diff --quiet --output markdown -- "git:$BASE:$inside" "$path" || status=$?
        # 1 tells that there is a difference, which is no failure here.
        ((status <= 1)) || return "$status"
        printf '\n'
    done
}

body=$(comment)
if [[ -n "${DRY_RUN:-}" ]]; then
    printf '%s\n' "$body"
    exit
fi
earlier=$(gh api --paginate "repos/$GH_REPO/issues/$NUMBER/comments" \
    --jq "map(select(.body | startswith(\"$marker\"))) | .[0].id // empty" | head -n 1)
if [[ -n "$earlier" ]]; then
    gh api --silent --method PATCH "repos/$GH_REPO/issues/comments/$earlier" --raw-field "body=$body"
else
    gh api --silent --method POST "repos/$GH_REPO/issues/$NUMBER/comments" --raw-field "body=$body"
fi
