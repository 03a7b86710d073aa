% # What somebody typed and did not send yet. Wants: drafts; names_form, if they are of several forms.
<ul class="drafts">
% for one in drafts:
  <li>
    <a href="{{one.href}}"><bdi>{{one.called}}</bdi></a>
    <span class="note">\\
% if names_form:
<bdi>{{one.form}}</bdi>, \\
% end
{{t("drafts.saved_at", at=one.saved)}}</span>
%   include('_delete.tpl', action=one.delete_action, what=one.called)
  </li>
% end
</ul>
