#!/bin/bash
# What deployer is compared with: the usual post-receive, one docker command after another. The app runs with --init,
# without which each push would wait ten seconds for a process 1 that does not heed SIGTERM.
set -e
git --work-tree='@WORKTREE@' checkout -q -f main
docker stop '@NAME@' || true
docker rm '@NAME@' || true
docker rmi '@REGISTRY@/@NAME@:latest' '@NAME@' || true
docker build -t '@NAME@' '@WORKTREE@'
docker tag '@NAME@' '@REGISTRY@/@NAME@:latest'
docker push '@REGISTRY@/@NAME@:latest'
docker pull '@REGISTRY@/@NAME@:latest'
docker run -d --init --name '@NAME@' --network '@NETWORK@' -p '127.0.0.1:@PORT@:8080' '@REGISTRY@/@NAME@:latest'
echo deployed
