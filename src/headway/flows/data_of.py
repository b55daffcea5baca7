"""The data that a recorded job was given, found again by its inputs."""

from __future__ import annotations

from headway.execution.session import Session
from headway.flows.channels import Data
from headway.flows.process import load_dataset
from headway.jobs.spec import JobSpec
from headway.manifests.manifest import Manifest


def data_of(session: Session, spec: JobSpec) -> Data | None:
    """The dataset or manifest of a job; None for a job without data."""
    for given in spec.inputs:
        if given.role == "dataset":
            return load_dataset(session, given.id)
        if given.role == "manifest":
            return Manifest.load(session.files, session.ledger, given.id)
    return None
