"""Teachers: networks trained on the real images. Their predictions are the labels of synthetic images."""

from satm.teachers.config import TEACHERS as TEACHERS
from satm.teachers.config import TeacherConfig as TeacherConfig
from satm.teachers.config import TeacherLabels as TeacherLabels
from satm.teachers.labels import Relabelled as Relabelled
from satm.teachers.labels import distillation_loss as distillation_loss
from satm.teachers.store import Teacher as Teacher
from satm.teachers.store import TeacherStore as TeacherStore
from satm.teachers.train import check_teacher as check_teacher
from satm.teachers.train import missing_epochs as missing_epochs
from satm.teachers.train import train_teacher as train_teacher
