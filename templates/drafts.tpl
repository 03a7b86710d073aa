% rebase('layout.tpl')
<div class="narrow">
<h1>{{t("drafts.title")}}</h1>
<p class="note">{{t("drafts.note")}}</p>
% if page.drafts:
%   include('_drafts.tpl', drafts=page.drafts, names_form=False)
% else:
<div class="empty"><p>{{t("drafts.none")}}</p></div>
% end
<p class="back"><a href="{{page.back_href}}">{{t("drafts.back", name=page.called)}}</a></p>
</div>
