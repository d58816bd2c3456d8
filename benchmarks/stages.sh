# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Stages of a long check, to be sourced: each has a name and a time limit, a failed one does not stop the
# next ones, and each leaves a line "name <tab> seconds <tab> outcome" in $STAGES. All end before $DEADLINE
# (seconds since the start of the script).

NOT_AVAILABLE=77 # the exit code of a stage that cannot run here, which is no failure
FAILED=0

stage() { # NAME LIMIT_S COMMAND...
  local name=$1 limit=$2 left=$((DEADLINE - SECONDS)) start=$SECONDS code=0
  shift 2
  printf '\n== %s\n' "$name"
  if ((left < 5)); then
    note "$name" 0 "no time left"
    FAILED=1
    return
  fi
  timeout --kill-after=10 $((limit < left ? limit : left)) "$@" || code=$?
  case $code in
    0) note "$name" $((SECONDS - start)) ok ;;
    "$NOT_AVAILABLE") note "$name" $((SECONDS - start)) "not available" ;;
    124 | 137) note "$name" $((SECONDS - start)) "out of time" && FAILED=1 ;;
    *) note "$name" $((SECONDS - start)) "FAILED, exit $code" && FAILED=1 ;;
  esac
}

note() { # NAME SECONDS OUTCOME
  printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$STAGES"
  printf -- '-- %s: %s, %s s\n' "$1" "$3" "$2"
}
