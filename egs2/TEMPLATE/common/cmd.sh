# shellcheck shell=bash disable=SC2034
# Where jobs run. Every runner keeps the same contract (see README.md):
#   ${cmd} [--gpu N] [--num_threads N] [--mem G] [--time T] [--max_jobs_run N]
#       [--num_nodes M] [--num_procs P] [--kind cpu|gpu|train] [JOB=1:N] LOG COMMAND...

case "${cmd_backend:-local}" in
    local)
        train_cmd="utils/local.py" # On this machine: work without a GPU.
        cuda_cmd="utils/local.py"  # Training, and all that runs the LLM.
        ;;
    slurm) # A cluster, asked as slurm_config says.
        train_cmd="utils/slurm.py"
        cuda_cmd="utils/slurm.py"
        export AUDIOLLM_SLURM_CONFIG="${slurm_config:-conf/slurm.yaml}"
        ;;
    *)
        echo "cmd.sh: unknown cmd_backend '${cmd_backend}'; there are: local, slurm" >&2
        exit 1
        ;;
esac
