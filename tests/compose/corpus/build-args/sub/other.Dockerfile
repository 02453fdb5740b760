FROM debian AS last
