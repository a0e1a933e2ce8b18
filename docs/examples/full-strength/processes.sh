# shellcheck shell=bash
# What `up` and `down` have in common: the processes and how they are told from strangers. Sourced by both.

state=data/up
# In the order in which they stop: nothing new comes in first, and the workers still need the Brain Factory.
processes=(api worker-1 worker-2 brain-factory)

say() { printf '[full strength] %s\n' "$*"; }

# When process $1 began, unless it has ended and is yet to be noticed by its parent. (Its number alone may belong to
# another process by now.)
began() { awk '$3 != "Z" {print $22}' "/proc/$1/stat" 2>/dev/null; }

# The number of the process named $1, if it runs.
pid_of() {
  local pid start
  read -r pid start 2>/dev/null <"$state/$1.pid" && [ "$(began "$pid")" = "$start" ] && echo "$pid"
}
